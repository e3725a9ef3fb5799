"""The demo: one month of a real gift shop, one generated week of a coffee bar, and the flow that shows them live."""
