"""Shows, asks, runs runbooks, journals, measures and reports for a failover estate."""
