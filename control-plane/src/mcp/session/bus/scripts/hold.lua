-- A replica has a copy of a session, or goes on having it, and the session lives on.
-- KEYS: state, events. ARGV: replica, ms to live.
if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then return 'ended' end
if redis.call('HEXISTS', KEYS[1], 'owner') == 0 then return 'unknown' end
redis.call('HSET', KEYS[1], 'at:' .. ARGV[1], 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 'here'
