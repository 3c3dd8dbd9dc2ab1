"""Registered claims and how results decide them."""
