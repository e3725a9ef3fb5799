"""Till exports become events: one module per kind of export, an account of every line and every penny beside it."""
