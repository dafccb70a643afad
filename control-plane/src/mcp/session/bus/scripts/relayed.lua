-- The pieces of a stream that have come, which are then out of the relay.
-- KEYS: relay. ARGV: how many. Answers event id and message by turns.
local pieces = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  pieces[#pieces + 1] = entry[2][2]
  pieces[#pieces + 1] = entry[2][4]
  redis.call('XDEL', KEYS[1], entry[1])
end
return pieces
