"""Data in: samples from logs, tables and the article's comments; splits that nothing crosses; test sets that stay."""
