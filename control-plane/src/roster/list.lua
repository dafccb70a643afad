-- The executors whose records have not ended, each with the ms that are left of it. KEYS: the index.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local listed = {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  listed[#listed + 1] = { all[i], all[i + 1] - now }
end
return listed
