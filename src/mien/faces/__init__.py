"""Detect, track and align: video frames in, face tracks out."""
