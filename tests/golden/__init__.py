"""Events as they were sent once, and the facts they must become for ever."""
