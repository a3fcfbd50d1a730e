"""What operators see of a running process: metrics and logs.

Knows nothing of the features that report here.
"""
