-- Intervals of shares, at 95 %; z is the 97.5th percentile of the normal distribution. All answer NULL where nobody was counted.

-- statement: wilson
-- Score interval of one share. Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
create or replace macro wilson_low(hits, trials) as
if(trials > 0, greatest(0.0, (2 * hits + 3.841458820694124 - 1.959963984540054
    * sqrt(3.841458820694124 + 4 * hits * (1 - hits / trials))) / (2 * (trials + 3.841458820694124))), null);

create or replace macro wilson_high(hits, trials) as
if(trials > 0, least(1.0, (2 * hits + 3.841458820694124 + 1.959963984540054
    * sqrt(3.841458820694124 + 4 * hits * (1 - hits / trials))) / (2 * (trials + 3.841458820694124))), null);

-- statement: newcombe
-- Interval of the difference of two shares, of independent groups: the square-and-add of their score intervals.
-- Source: Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17 (1998), method 10.
create or replace macro newcombe_low(hits, trials, other_hits, other_trials) as
hits / nullif(trials, 0) - other_hits / nullif(other_trials, 0) - sqrt(
    pow(hits / nullif(trials, 0) - wilson_low(hits, trials), 2)
    + pow(wilson_high(other_hits, other_trials) - other_hits / nullif(other_trials, 0), 2));

create or replace macro newcombe_high(hits, trials, other_hits, other_trials) as
hits / nullif(trials, 0) - other_hits / nullif(other_trials, 0) + sqrt(
    pow(wilson_high(hits, trials) - hits / nullif(trials, 0), 2)
    + pow(other_hits / nullif(other_trials, 0) - wilson_low(other_hits, other_trials), 2));

-- statement: katz
-- Interval of the ratio of two shares, on the scale of logarithms; NULL where one of them is nought.
-- Source: Katz, Baptista, Azen, Pike, Obtaining confidence intervals for the risk ratio in cohort studies, Biometrics 34 (1978).
create or replace macro katz_bound(hits, trials, other_hits, other_trials, side) as
if(hits > 0 and other_hits > 0, exp(
    ln(hits / trials) - ln(other_hits / other_trials)
    + side * 1.959963984540054 * sqrt(1 / hits - 1 / trials + 1 / other_hits - 1 / other_trials)), null);
