-- The sessions of one owner that count.
--
-- KEYS: those of the owner (sorted set of ids by the time, in ms, until which each counts)
-- Answers their ids.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
