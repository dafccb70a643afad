-- What is counted for a tenant: a hash "what scope" -> count, what being a (allowed), r (refused by rate), c (refused by
-- concurrency) or f (failed), and a sorted set scope -> when it was last used, in ms.

-- A tenant's table that is full forgets who was idle for that long; names beyond it are counted together.
local IDLE_MS, TOGETHER = 600000, 'other'

local function count(counts, used, scope, what, by, most, ttl_ms)
  if not redis.call('ZSCORE', used, scope) and redis.call('ZCARD', used) >= most then
    local idle = redis.call('ZRANGEBYSCORE', used, '-inf', NOW - IDLE_MS, 'LIMIT', 0, 16)
    for _, name in ipairs(idle) do
      redis.call('ZREM', used, name)
      redis.call('HDEL', counts, 'a ' .. name, 'r ' .. name, 'c ' .. name, 'f ' .. name)
    end
    if #idle == 0 then scope = TOGETHER end
  end
  redis.call('ZADD', used, NOW, scope)
  redis.call('HINCRBY', counts, what .. ' ' .. scope, by)
  redis.call('PEXPIRE', used, ttl_ms)
  redis.call('PEXPIRE', counts, ttl_ms)
end
