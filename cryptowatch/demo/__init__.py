"""The main job played with real transactions on real nodes, told as a timeline: `scripts/demo`.

`casino` is what a casino backend would write, `witness` asks the nodes, `story` is the play, `stage` the setting.
"""
