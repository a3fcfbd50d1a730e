"""Players: who they are to the platform, and what their standing lets them do."""
