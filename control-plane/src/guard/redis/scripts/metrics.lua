-- What runs of a tenant, and what was counted for it. After slots.
--
-- KEYS 6 counts of the tenant
-- ARGV 6 tenant
-- Answers {how many run, what and scope, count, ...}

open()
forget_expired()
hand_out()
local answer = redis.call('HGETALL', KEYS[6])
table.insert(answer, 1, tostring(lane(ARGV[6]).running))
close()
return answer
