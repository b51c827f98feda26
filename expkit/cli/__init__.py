"""The `expkit` command: `main.main` dispatches to one module per verb, loaded when the verb is used."""
