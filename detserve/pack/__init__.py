"""Pack: a model and its weights → engines that agree with their networks → an archive."""
