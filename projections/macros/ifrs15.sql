-- Points as a separate performance obligation (IFRS 15 B39-B47, Illustrative Example 52). Money in minor units, rounded half up.

-- statement: ifrs15_points_share
-- What of a sale is deferred to its points: allocated by stand-alone selling prices, that of the points being their value times the share
-- of them that is expected to be redeemed.
create or replace macro ifrs15_points_share(sales_minor, points, point_value_minor, expected_share) as (
    cast(round(sales_minor * (points * point_value_minor * expected_share) / (sales_minor + points * point_value_minor * expected_share)) as bigint)
);

-- statement: ifrs15_earned_to_date
-- What of the deferred money has been earned: in proportion to redemptions, of all that are expected in the end. Breakage is thereby
-- recognised with redemptions, not at expiry; a new expectation catches up in the period in which it is made.
create or replace macro ifrs15_earned_to_date(allocated_minor, redeemed, expected_points) as (
    cast(round(allocated_minor * least(redeemed / expected_points, 1)) as bigint)
);
