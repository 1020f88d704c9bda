"""What became of each call, kept in a database: SQLite by default, PostgreSQL by URL (docs/call-history.md)."""
