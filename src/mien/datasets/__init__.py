"""One file a labelled data set; a file dropped in here is found."""
