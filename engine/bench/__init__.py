"""Measurements of this machine: the product beside the bare loop that it should not lose to. `stammgast bench` runs them."""
