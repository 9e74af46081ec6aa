"""Progress lines."""
