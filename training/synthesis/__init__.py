"""Synthetic rows where there is no traffic yet, or too little of a rare class."""
