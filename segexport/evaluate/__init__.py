"""Labelled images and what a class map is worth on them. Knows no torch and no clock."""
