-- Counts what a replica refused by itself. After slots and counts.
--
-- KEYS from 6, two for each: counts and used scopes of a tenant
-- ARGV 6 how many scopes are told apart, 7 for how many ms counts outlive their last use
--      from 8, three for each: scope, what (r), how many

local key = 6
for i = 8, #ARGV, 3 do
  count(KEYS[key], KEYS[key + 1], ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[6]), tonumber(ARGV[7]))
  key = key + 2
end
return 1
