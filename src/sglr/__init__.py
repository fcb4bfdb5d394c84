"""Scalable split learning."""
