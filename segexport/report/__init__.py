"""Figures for people: tables on the terminal."""
