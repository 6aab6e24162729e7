"""Results for people: tables, figures, documents."""
