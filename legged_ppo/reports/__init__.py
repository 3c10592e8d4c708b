"""What users read after a run: tables, plots, heat maps and pages."""
