"""Runs, results, claims and the site."""
