-- Gives the leadership back, if that process has it.
-- KEYS: leader   ARGV: process
if redis.call('HGET', KEYS[1], 'process') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'process', '', 'until_ms', '0')
end
return {'ok'}
