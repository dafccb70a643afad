-- Takes a place for a session that is about to be opened.
--
-- KEYS: the session (hash: state, record, home, until), all sessions, those of its tenant, those of its owner (sorted sets of
--       ids by the time, in ms, until which each counts)
-- ARGV: id, record, home, ms until it must be open, ms that its end is remembered, most in all, most of the tenant
-- Answers "made", "all" (as many as there may be) or "tenant" (as many as the tenant may have).

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Those that nobody announces any more take no place.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then
  return 'tenant'
end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then
  return 'all'
end

local opened_by = now + ARGV[4]
redis.call('HSET', KEYS[1], 'state', 'opening', 'record', ARGV[2], 'home', ARGV[3], 'until', opened_by)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], opened_by, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[3], opened_by, ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
return 'made'
