-- The pieces of a stream that have come. Those that its reader has got go out of the relay when it asks for more: an answer
-- that was lost on the way is given again.
-- KEYS: relay. ARGV: how many, then the ids of those that it has got. Answers id, event id and message by turns.
for i = 2, #ARGV do redis.call('XDEL', KEYS[1], ARGV[i]) end
local pieces = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  pieces[#pieces + 1] = entry[1]
  pieces[#pieces + 1] = entry[2][2]
  pieces[#pieces + 1] = entry[2][4]
end
return pieces
