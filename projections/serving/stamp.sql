-- Asking for an answer together with its stamp.

-- statement: stamp
from stamp;

-- statement: stamped
-- Rows and stamp of one moment: the last column says the same in every row.
select answer.*, (select cast(to_json(s) as varchar) from stamp as s) as stammgast_stamp
from (
:statement
) as answer

-- statement: alone
-- For an answer without rows.
select cast(to_json(s) as varchar) as stammgast_stamp from stamp as s
