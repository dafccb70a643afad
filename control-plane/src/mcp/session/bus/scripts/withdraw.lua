-- A session that is no more does not count any more.
-- KEYS: all, tenants, busy, those of the tenant. ARGV: tenant, id.
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
local left = redis.call('ZCARD', KEYS[4])
if left == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) else redis.call('ZADD', KEYS[2], left, ARGV[1]) end
return 1
