"""One file a backbone family; a file dropped in here is found."""
