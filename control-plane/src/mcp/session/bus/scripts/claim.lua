-- A GET stream takes over from the one before. It goes on after the event that its client has read last, or where the one
-- before was.
-- KEYS: state, events. ARGV: reader, id of that event or ''.
-- Answers the reader before or '', or false when there is no such session.
if redis.call('HEXISTS', KEYS[1], 'owner') == 0 then return false end
local before = redis.call('HGET', KEYS[1], 'reader') or ''
redis.call('HSET', KEYS[1], 'reader', ARGV[1])
if ARGV[2] ~= '' then
  -- What was never said can't have been read. What was said may have given way to later events by now.
  local later = redis.call('XRANGE', KEYS[2], ARGV[2], '+', 'COUNT', 1)
  if #later == 1 then redis.call('HSET', KEYS[1], 'read', ARGV[2]) end
end
return before
