"""Walk positions along recorded prices on the core alone: no manager, no store, no network."""
