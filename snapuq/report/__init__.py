"""Tables, figures and the report that a reader opens."""
