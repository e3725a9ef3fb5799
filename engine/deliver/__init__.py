"""`stammgast deliver`: notices of the topic `incentives` on their way to members, and what became of them back as facts."""
