-- What an address book in SQLite is asked, unless the configuration says something else: one parameter, the member's key.
select address from addresses where member = ?
