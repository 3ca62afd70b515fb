"""Models of other programs to model folders and back, one file a source."""
