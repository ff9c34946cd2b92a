"""What each page shows, gathered from the store as plain values; pages and figures only draw."""
