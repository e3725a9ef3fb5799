"""One module per verb of the command line; `engine.cli` names them and loads one when it is asked for."""
