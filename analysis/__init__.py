"""Turn a sweep's rows into statistics, figures, tables and one report page."""
