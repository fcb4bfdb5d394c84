"""Data given as Python objects: arrays, DataFrames, torch and Hugging Face data sets."""
