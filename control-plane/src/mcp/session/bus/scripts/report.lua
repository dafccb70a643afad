-- When sessions of this replica were last in use, and which are in use now.
-- KEYS: all, tenants, busy. ARGV: what the keys of single tenants begin with, ms for which one in use stays so, ms after
-- which an idle one is gone; then tenant, id, ms since when it is idle or -1.
local all, tenants, busy = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #ARGV, 3 do
  local tenant, id, idle = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local last = now
  if idle < 0 then redis.call('ZADD', busy, now + ARGV[2], id) else last = now - idle end
  redis.call('ZADD', all, 'GT', last, id)
  redis.call('ZADD', ARGV[1] .. tenant, 'GT', last, id)
  redis.call('ZADD', tenants, redis.call('ZCARD', ARGV[1] .. tenant), tenant)
  redis.call('PEXPIRE', ARGV[1] .. tenant, ARGV[3] * 2)
end
for _, key in ipairs({all, tenants, busy}) do redis.call('PEXPIRE', key, ARGV[3] * 2) end
return 1
