"""Why a member has these points: facts decided again, with every condition of every rule and the value it saw."""
