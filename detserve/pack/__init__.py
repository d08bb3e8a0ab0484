"""Pack: a model and its weights → an engine that agrees with its network → an archive."""
