"""From tables of detections to findings: events, quality, summaries of a study, people over files."""
