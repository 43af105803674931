"""Pictures and self-contained HTML pages for people to look at."""
