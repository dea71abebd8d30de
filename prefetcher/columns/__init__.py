"""Columns: how a sample's value is made of stored rows. Pure; what a leaf of x or y may be."""
