"""One file a method; a file dropped in here is found."""
